"""Whether the SQL of a pipeline's marts looks ahead: a past day is built twice, with and without what came later."""
