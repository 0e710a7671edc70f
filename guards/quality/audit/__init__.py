"""Which rows are most worth a label, and what the labels of so chosen rows say of all."""
