"""What frames mean and what is done about them. Pure: time comes in as an argument, deadlines and bytes go out as values."""
