"""Tags that may be applied unseen: how sure they have to be, and what is promised of them."""
