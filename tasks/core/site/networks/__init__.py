"""Networks of a site: which one an address lies in, and the rules across them."""
