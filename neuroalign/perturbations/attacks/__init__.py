"""What an adversary does to an image within a budget, and how it asks a model."""
