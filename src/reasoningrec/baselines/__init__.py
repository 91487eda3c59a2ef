"""Plain recommenders to be measured against."""
