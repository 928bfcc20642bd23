"""The reviewed list: what a file of scikit-learn objects may name. Everything else is refused, whoever wrote the file.

What was asked of each type: building it from a file calls nothing that the file chooses, and its content is either checked by
scikit-learn's own code before C code indexes with it, or by `trees.py`. Left out on purpose: whatever takes any callable
(FunctionTransformer takes only the function below), libsvm models, neighbour trees and sparse
coefficients (raw indices in C, unchecked).
"""

# How a node may be built. Left out: methods, operators, plain bytes.
LOADERS = frozenset(
    {
        "CachedNode",
        "ConstructorFromReduceNode",
        "DTypeNode",
        "DefaultDictNode",
        "DictNode",
        "FunctionNode",
        "JsonNode",
        "ListNode",
        "LossNode",
        "MaskedArrayNode",
        "NdArrayNode",
        "ObjectNode",
        "PartialNode",
        "RandomGeneratorNode",
        "RandomStateNode",
        "SetNode",
        "SliceNode",
        "TreeNode",
        "TupleNode",
        "TypeNode",
    }
)

_PLAIN = ("dict", "list", "set", "slice", "tuple", "str", "int", "float", "bool", "NoneType")

_SKLEARN = """
sklearn.calibration: CalibratedClassifierCV _CalibratedClassifier _SigmoidCalibration
sklearn.compose._column_transformer: ColumnTransformer make_column_selector
sklearn.compose._target: TransformedTargetRegressor
sklearn.decomposition._pca: PCA
sklearn.decomposition._truncated_svd: TruncatedSVD
sklearn.dummy: DummyClassifier DummyRegressor
sklearn.ensemble._forest: ExtraTreesClassifier ExtraTreesRegressor RandomForestClassifier RandomForestRegressor
sklearn.ensemble._gb: GradientBoostingClassifier GradientBoostingRegressor
sklearn.ensemble._hist_gradient_boosting.binning: _BinMapper
sklearn.ensemble._hist_gradient_boosting.gradient_boosting: HistGradientBoostingClassifier HistGradientBoostingRegressor
sklearn.ensemble._hist_gradient_boosting.predictor: TreePredictor
sklearn.ensemble._voting: VotingClassifier VotingRegressor
sklearn.feature_selection._variance_threshold: VarianceThreshold
sklearn.impute._base: MissingIndicator SimpleImputer
sklearn.linear_model._base: LinearRegression
sklearn.linear_model._bayes: BayesianRidge
sklearn.linear_model._coordinate_descent: ElasticNet ElasticNetCV Lasso LassoCV
sklearn.linear_model._logistic: LogisticRegression LogisticRegressionCV
sklearn.linear_model._ridge: Ridge RidgeCV RidgeClassifier RidgeClassifierCV
sklearn.linear_model._stochastic_gradient: SGDClassifier SGDRegressor
sklearn.naive_bayes: BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB
sklearn.neural_network._multilayer_perceptron: MLPClassifier MLPRegressor
sklearn.neural_network._stochastic_optimizers: AdamOptimizer SGDOptimizer
sklearn.pipeline: FeatureUnion Pipeline
sklearn.preprocessing._data: Binarizer MaxAbsScaler MinMaxScaler Normalizer PowerTransformer QuantileTransformer RobustScaler StandardScaler
sklearn.preprocessing._discretization: KBinsDiscretizer
sklearn.preprocessing._encoders: OneHotEncoder OrdinalEncoder
sklearn.preprocessing._function_transformer: FunctionTransformer
sklearn.preprocessing._label: LabelBinarizer LabelEncoder MultiLabelBinarizer
sklearn.preprocessing._polynomial: PolynomialFeatures
sklearn.preprocessing._target_encoder: TargetEncoder
sklearn.svm._classes: LinearSVC LinearSVR
sklearn.tree._classes: DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor
sklearn.tree._tree: Tree
sklearn._loss.link: HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit
sklearn._loss.loss: AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss HalfPoissonLoss
sklearn._loss.loss: HalfSquaredError HuberLoss PinballLoss
sklearn._loss._loss: CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss
sklearn._loss._loss: CyHalfPoissonLoss CyHalfSquaredError CyHuberLoss CyPinballLoss
sklearn.utils._bunch: Bunch
sklearn.utils.validation: check_array
"""

_NUMPY = """
numpy: dtype ndarray bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 str_ object_
numpy.ma: MaskedArray
numpy.random._generator: Generator
numpy.random.mtrand: RandomState
numpy.random: RandomState
functools: partial
collections: OrderedDict defaultdict
"""

# Functions: the only ones that a file may name.
FUNCTIONS = frozenset({"sklearn.utils.validation.check_array"})


def _read(table: str) -> frozenset[str]:
    lines = [line.partition(": ") for line in table.strip().splitlines()]
    return frozenset(f"{module}.{name}" for module, _, names in lines for name in names.split())


# Whole names, as a file has them.
TYPES = frozenset(f"builtins.{name}" for name in _PLAIN) | _read(_SKLEARN) | _read(_NUMPY)
