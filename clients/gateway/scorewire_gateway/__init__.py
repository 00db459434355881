"""HTTP/JSON gateway and web console of the Scorewire scoring server."""
