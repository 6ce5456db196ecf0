"""The dashboard of VisNec Studio: a Streamlit app over one workspace.

It contains no SQL, no torch and no selection maths: pages compose widgets, and ``dashboard.data``
reads and writes through the scoring library.
"""
