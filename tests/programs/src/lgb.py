import numpy as np, lightgbm as lgb
rng = np.random.default_rng(1)
x = rng.normal(size=(300, 5)); y = x[:, 0] + rng.normal(size=300) / 3
train = lgb.Dataset(x[:200], y[:200]); val = train.create_valid(x[200:], y[200:])
lgb.train({"objective": "regression", "metric": ["l2", "l1"], "num_threads": 1}, train, 6, [train, val], ["training", "valid_1"], callbacks=[lgb.log_evaluation(1), lgb.early_stopping(3)])
