"""Families of linear and other models after imputing and scaling."""

from __future__ import annotations

from sklearn import decomposition, linear_model, neural_network, svm
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - which importing it allows
from sklearn.feature_selection import RFE
from sklearn.impute import IterativeImputer
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline

from tests.families.data import everything
from tests.families.fits import after_preparation, whole
from tests.families.running import Family

LINEAR = [
    Family(
        name="logistic regression",
        fit=after_preparation(linear_model.LogisticRegression()),
        target="named",
        prepare=everything,
    ),
    Family(
        name="logistic regression, three classes",
        fit=after_preparation(linear_model.LogisticRegression()),
        target="three",
        prepare=everything,
    ),
    Family(name="ridge", fit=after_preparation(linear_model.Ridge()), prepare=everything),
    Family(
        name="poisson regression",
        fit=after_preparation(linear_model.PoissonRegressor()),
        target="count",
        prepare=everything,
    ),
    Family(
        name="SGD classifier",
        fit=after_preparation(linear_model.SGDClassifier(random_state=0)),
        target="three",
    ),
    Family(name="linear SVC", fit=after_preparation(svm.LinearSVC(random_state=0)), target="two"),
    Family(
        name="neural network",
        fit=after_preparation(neural_network.MLPClassifier((16,), max_iter=30, random_state=0)),
        target="two",
        prepare=everything,
    ),
    Family(
        name="partial least squares",
        fit=after_preparation(PLSRegression(2)),
        target="pair",
        prepare=everything,
    ),
    Family(name="RANSAC", fit=after_preparation(linear_model.RANSACRegressor(random_state=0))),
    Family(
        name="chosen columns, ridge",
        fit=after_preparation(RFE(linear_model.Ridge(), n_features_to_select=3)),
        prepare=everything,
    ),
    Family(
        name="discriminants before a line",
        fit=after_preparation(make_pipeline(LinearDiscriminantAnalysis(), linear_model.LogisticRegression())),
        target="three",
    ),
    Family(
        name="factors before a line",
        fit=after_preparation(make_pipeline(decomposition.FactorAnalysis(3), linear_model.Ridge())),
    ),
    Family(
        name="iterative imputer, ridge",
        fit=whole(make_pipeline(IterativeImputer(max_iter=3, add_indicator=True), linear_model.Ridge())),
    ),
    Family(
        name="iterative imputer that draws at random",
        fit=whole(
            make_pipeline(IterativeImputer(sample_posterior=True, random_state=0), linear_model.Ridge())
        ),
        refused="at random",
    ),
    Family(name="naive Bayes", fit=after_preparation(GaussianNB()), target="three"),
]
