"""Double-entry bookkeeping for several branches. Nothing here knows of HarmonyLite."""
