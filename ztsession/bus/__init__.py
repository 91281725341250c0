"""Bus: how a changed decision reaches the enforcement points."""
