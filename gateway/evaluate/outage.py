"""What reading the evidence or writing the database raises while either is away.

Whoever works in a loop notes these and comes again; anything else is a fault of ours.
"""

import duckdb
import pyarrow as pa
from deltalake.exceptions import DeltaError
from sqlalchemy.exc import SQLAlchemyError

OUTAGES = (DeltaError, duckdb.Error, pa.ArrowException, OSError, SQLAlchemyError)
