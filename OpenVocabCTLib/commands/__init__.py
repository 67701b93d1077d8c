"""The commands of ``openvocabct``, one module each."""
