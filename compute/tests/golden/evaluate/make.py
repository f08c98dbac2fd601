"""Makes the golden values beside this file: models that scikit-learn fitted, and
what it says of them.

    python -m venv /tmp/golden && /tmp/golden/bin/pip install scikit-learn==1.9.1
    /tmp/golden/bin/python compute/tests/golden/evaluate/make.py

A case holds a dataset's samples and targets, the weights of one dense layer, and
the measures.
"""

import json
import pathlib

import numpy as np
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
ROWS = 120


def numbers(values):
    return [float(f"{float(value):.9g}") for value in np.asarray(values).reshape(-1)]


def rows(values):
    return [numbers(row) for row in values]


def some(data, columns):
    order = np.random.default_rng(3).permutation(len(data.data))[:ROWS]
    x = StandardScaler().fit_transform(data.data[order][:, columns])
    return np.float32(x).astype(float), data.target[order]


def write(name, x, targets, weight, bias, expected):
    case = {"rows": rows(x), "targets": targets, "weight": numbers(weight), "bias": numbers(bias),
            "expected": expected}
    (HERE / f"{name}.json").write_text(json.dumps(case) + "\n")


def averages(truth, said, scores, kind):
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, said, average=kind, zero_division=0)
    auc = metrics.roc_auc_score(truth, scores, average=kind, multi_class="ovr")
    return {"precision": precision, "recall": recall, "f1": f1, "auc": auc}


def classes():
    x, y = some(load_wine(), [0, 1])
    fitted = LogisticRegression(C=0.5).fit(x, y)
    scores = fitted.predict_proba(x)
    said = fitted.predict(x)
    write("classes", x, {"classes": {"count": 3, "of": y.tolist()}}, fitted.coef_, fitted.intercept_, {
        "loss": metrics.log_loss(y, scores),
        "accuracy": metrics.accuracy_score(y, said),
        "macro_average": averages(y, said, scores, "macro"),
        "weighted_average": averages(y, said, scores, "weighted"),
        "confusion_matrix": metrics.confusion_matrix(y, said).tolist(),
    })


def binary():
    x, y = some(load_breast_cancer(), [1, 4])
    fitted = LogisticRegression(C=0.5).fit(x, y)
    scores = fitted.predict_proba(x)[:, 1]
    said = fitted.predict(x)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, said)
    auc = metrics.roc_auc_score(y, scores)
    write("binary", x, {"classes": {"count": 2, "of": y.tolist()}}, fitted.coef_, fitted.intercept_, {
        "loss": metrics.log_loss(y, scores),
        "accuracy": metrics.accuracy_score(y, said),
        "classes": [{"precision": p, "recall": r, "f1": f, "auc": auc} for p, r, f in zip(precision, recall, f1)],
        "macro_average": {"auc": auc},
        "confusion_matrix": metrics.confusion_matrix(y, said).tolist(),
    })


def regression():
    x, y = some(load_diabetes(), [2, 3, 8])
    y = np.stack([y / 100, x[:, 0] * y / 100], axis=1)
    y = np.float32(y).astype(float)
    fitted = LinearRegression().fit(x, y)
    said = fitted.predict(x)
    write("regression", x, {"numbers": rows(y)}, fitted.coef_, fitted.intercept_, {
        "loss": metrics.mean_squared_error(y, said),
        "rmse": metrics.mean_squared_error(y, said) ** 0.5,
        "mae": metrics.mean_absolute_error(y, said),
        "r2": metrics.r2_score(y, said),
        "outputs": [{"rmse": e ** 0.5, "mae": a, "r2": r} for e, a, r in zip(
            metrics.mean_squared_error(y, said, multioutput="raw_values"),
            metrics.mean_absolute_error(y, said, multioutput="raw_values"),
            metrics.r2_score(y, said, multioutput="raw_values"))],
    })


classes()
binary()
regression()
