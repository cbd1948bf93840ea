"""Where rows come from: a source gives, for each day, what it knew at that day's cutoff."""
