import numpy as np, xgboost as xgb
rng = np.random.default_rng(1)
x = rng.normal(size=(300, 5)); y = (x[:, 0] + rng.normal(size=300) / 3 > 0).astype(int)
train, val = xgb.DMatrix(x[:200], y[:200]), xgb.DMatrix(x[200:], y[200:])
xgb.train({"objective": "binary:logistic", "eval_metric": ["logloss", "auc"], "nonsense": 1}, train, 8, [(train, "train"), (val, "eval")])
