"""Restores: one database brought back to a moment, alone, while its neighbours go on."""
