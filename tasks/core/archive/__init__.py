"""Images and archives of files: newc, and what they are compressed with."""
