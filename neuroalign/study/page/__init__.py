"""The page that a study writes of itself: what stands on it, and its template."""

__all__: list[str] = []
