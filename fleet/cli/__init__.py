"""The verbs, as Invoke sees them: read the options, call one function of the engine, show its result."""
