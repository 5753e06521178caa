"""Reports: one file per output format, over one plain result."""
