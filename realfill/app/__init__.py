"""The app: a page in the browser over ordinary scene and results folders."""
