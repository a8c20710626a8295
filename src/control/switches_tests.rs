//! A table of cases in a small language, and properties over random files.
