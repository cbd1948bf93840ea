"""Where rows come from: for each day, a source returns what it knew at that day's cutoff."""
