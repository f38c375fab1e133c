import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.linear_model import Ridge
rng = np.random.default_rng(1)
x = rng.normal(size=(200, 5)); y = x[:, 0] + rng.normal(size=200) / 3
MLPClassifier((4,), max_iter=5, verbose=True, random_state=1).fit(x, y > 0)
GradientBoostingRegressor(n_estimators=5, verbose=2, subsample=0.8, random_state=1).fit(x, y)
GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2, verbose=3).fit(x, y)
Ridge().fit(x, y[:5])
