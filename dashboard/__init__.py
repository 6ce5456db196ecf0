"""The dashboard of VisNec Studio: a Streamlit app over one workspace.

It holds no SQL, no torch and no selection maths: pages compose components, `loaders` reads and
`actions` writes through the scoring library.
"""
