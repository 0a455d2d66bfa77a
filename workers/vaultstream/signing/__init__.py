"""Signing: fetch → lease → read → sign → commit → ack, a module a step; the pipeline that overlaps them is apart."""
