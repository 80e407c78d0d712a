"""The search for secrets: their forms, where they hide, what is public all the same."""
