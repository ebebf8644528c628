"""What is known of many in little room: sums that can be merged, of things that cannot be added."""
