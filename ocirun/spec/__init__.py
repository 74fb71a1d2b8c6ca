"""config.json: types, reading, validation, defaults, and the document of `features`."""
