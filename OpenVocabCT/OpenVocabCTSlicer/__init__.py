"""The parts of the Slicer module: MRML in, MRML out, and the headless batch.

Everything here but the widgets runs without Qt. Inside the Slicer process only the standard library, numpy, vtk and
slicer are imported; torch and transformers live in the worker process.
"""

from __future__ import annotations
