"""Write parts and make them visible, once and for good."""
