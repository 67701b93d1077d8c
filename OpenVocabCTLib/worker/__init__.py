"""The process that owns the model, and the client through which 3D Slicer and scripts ask it.

The client side (``protocol``, ``steps``, ``exchange``, ``stepwise``, ``client``, ``process``, ``session``) needs the
standard library and numpy only, so that it can be imported inside 3D Slicer; the server side imports torch when it
first needs it.
"""
