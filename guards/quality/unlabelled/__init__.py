"""How good answers probably are while nobody has said: estimates, each with what it assumes."""
