"""From a plan to a report: options, shards, workers, the journal, and the engine that carries them out."""
