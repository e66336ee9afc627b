"""The reference inference API: which ingredients go together, answered by the version that is marked in MLflow.

Marking a version (stage `FLAVOR_MODEL_STAGE`, by default Staging) is the deployment. Two processes share the work:

* the server (`__main__`, `app`, `follower`, `model`): answers requests from one immutable model in memory. It never
  opens a connection and never reads an artifact;
* the scout (`scout`, `tracking`, `word2vec`): asks the tracking server which version is marked, downloads its
  artifact and checks it, under limits of the kernel on memory, file size and time. It hands over plain numbers. If an
  artifact makes it hang, grow or crash, the scout is lost and the server keeps answering.
"""
