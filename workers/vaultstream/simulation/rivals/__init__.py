"""Other ways to decide how many signers run, for comparison on the same model: pure, with seeded clocks."""
