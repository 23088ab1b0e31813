"""CSV files: types from the first megabyte, and rows that are at fault alone."""
