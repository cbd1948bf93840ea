"""What an edit touches before it is merged: the meaning of SQL on both sides of a git diff, and who uses it."""
