"""What is listed, what it costs and what trades: the market itself, without anybody watching."""
