"""What becomes of a failure: a record, its replay, a message with a picture, a script without the harness."""
