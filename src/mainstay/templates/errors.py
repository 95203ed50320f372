"""What the templates room refuses."""

from mainstay.kernel.errors import Conflict, NotFound, Unprocessable


class RulesBroken(Unprocessable):
    """The event breaks the rules of its workspace."""

    code = "rules-broken"


class TemplateNotFound(NotFound):
    """There is no such template here."""


class TemplateNameTaken(Conflict):
    """Another template of the company has this name."""

    code = "template-name-taken"


class TooManyTemplates(Conflict):
    """The company, or the workspace, has as many templates as it may."""

    code = "too-many-templates"


class SchemaNotFound(NotFound):
    """There is no such event schema here."""


class SchemaExists(Conflict):
    """There is a schema for this action already; change that one."""

    code = "schema-exists"


class TooManySchemas(Conflict):
    """There are as many event schemas, or versions of one, as there may be."""

    code = "too-many-schemas"
