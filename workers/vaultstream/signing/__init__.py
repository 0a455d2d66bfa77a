"""The signing worker: fetch → lease → read → sign → commit → ack. Each step is a module; `pipeline` overlaps them."""
