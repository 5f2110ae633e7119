"""Jobs: notebooks that run by themselves, on market time, while nobody watches.

`when` reads a phrase and says the due times; `book` keeps definitions, due
times and what became of them; `service` is the process that starts workers;
`worker` runs one notebook; `face` is what a person calls. The page and the
form in JupyterLab are the server extension's.
"""
