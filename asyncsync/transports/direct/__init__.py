"""The direct way: from registry to registry, with no engine and no disk between."""
