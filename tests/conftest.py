"""What holds for every test."""

from hypothesis import settings

# A shared machine may be slow at any moment; time is never what a property is about.
settings.register_profile("p2sp", deadline=None)
settings.load_profile("p2sp")
