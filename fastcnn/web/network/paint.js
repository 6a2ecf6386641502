// Palettes
