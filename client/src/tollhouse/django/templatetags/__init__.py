"""`{% load tollhouse %}`."""
