"""Pages for people: the frame, the parts and the plots that the roles' own pages are made of, and who may see them."""
