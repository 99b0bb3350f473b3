"""Events and outcomes in words: log, table, files. Listens only; asks nobody, decides nothing."""
