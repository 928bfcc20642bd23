"""MLflow's protocol over a store of ours: what each of its calls means here. The server's routes and MLflow's plug-ins call it.

May live here: functions of a request that give an answer (records both), MLflow's rules and error codes, its search language.
May not: HTTP, JSON, who may do what (the caller checks), SQL outside of `store/`, MLflow itself.
"""
